import { readFile, readdir, readlink } from "node:fs/promises";

/**
 * The processes that work in a folder or below it, as `<pid> <name>`: a Postgres and its initdb do so in their data.
 * Linux alone says that; elsewhere there are none.
 */
export async function processesIn(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir("/proc").catch(() => [])) {
    if (!/^\d+$/.test(pid)) continue;
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => "");
    if (cwd !== folder && !cwd.startsWith(`${folder}/`)) continue;
    const name = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "gone");
    found.push(`${pid} ${name.trim()}`);
  }
  return found;
}
