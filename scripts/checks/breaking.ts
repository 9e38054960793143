import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "./command.ts";
import { root } from "./source.ts";

/** The contract of the last release, committed; from the root. */
export const RELEASE = "proto/release.binpb";

/**
 * Builds our own proto files. What they import is in the image too, marked as imported. buf compares two images where
 * it would refuse to compare an image with our two modules.
 */
export function buildImage(file: string, ...options: string[]): string {
  return command("buf", "build", "--path", "proto/commerce", "-o", file, ...options);
}

/** What a client of the last release would stumble over. */
export function breaksTheRelease(): string {
  if (!existsSync(join(root, RELEASE))) return `${RELEASE} is missing. Run: npm run release:proto`;
  const folder = mkdtempSync(join(tmpdir(), "connect-commerce-proto-"));
  try {
    const image = join(folder, "now.binpb");
    const config = join(folder, "buf.yaml");
    writeFileSync(config, "version: v2\nbreaking:\n  use: [FILE]\n");
    const failure = buildImage(image);
    if (failure !== "") return failure;
    const broken = command("buf", "breaking", image, "--against", RELEASE, "--exclude-imports", "--config", config);
    // In an image paths begin below proto/.
    return broken.replaceAll(/^commerce\//gm, "proto/commerce/");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
