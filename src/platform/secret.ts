import { hkdfSync, randomBytes, randomUUID } from "node:crypto";
import { link, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** The secret of an installation that runs in one process: made once in its data folder, readable by its owner. */
export async function installationSecret(dataDir: string): Promise<string> {
  const file = join(dataDir, "secret");
  const half = `${file}.${randomUUID()}`;
  await mkdir(dataDir, { recursive: true });
  try {
    // Written aside, so that a full disk or a crash leaves none that is empty.
    await writeFile(half, randomBytes(32).toString("base64url"), { mode: 0o600, flag: "wx" });
    await link(half, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    await rm(half, { force: true });
  }
  const secret = (await readFile(file, "utf8")).trim();
  if (secret.length < 32) throw new Error(`${file} is damaged: delete it, and page tokens given out so far expire.`);
  return secret;
}

/** A key of 32 bytes for one purpose of one role, always the same; nothing follows from it about any other. */
export function deriveKey(secret: string, role: string, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, role, `connect-commerce ${purpose}`, 32));
}
