import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { registry } from "../roles/registry.ts";

const [folder = ""] = new Command("npm run keys --")
  .description(
    "Makes the keys that roles prove themselves with: <role>.key and <role>.pub for each. A role's processes get its key and all .pub files; see KEYS_DIR in docs/configuration.md.",
  )
  .argument("<folder>", "where to write them; what is there stays")
  .parse().args;

mkdirSync(folder, { recursive: true, mode: 0o700 });
let made = 0;
for (const role of Object.keys(registry)) {
  const file = join(folder, `${role}.key`);
  const { privateKey } = generateKeyPairSync("ed25519");
  const isNew = write(file, privateKey.export({ format: "pem", type: "pkcs8" }), 0o600);
  // Of the key that is there: one whose other half is missing gets it.
  const publicKey = createPublicKey(readFileSync(file, "utf8"));
  write(join(folder, `${role}.pub`), publicKey.export({ format: "pem", type: "spki" }), 0o644);
  if (isNew) made += 1;
}
const kept = Object.keys(registry).length - made;
process.stdout.write(
  `${String(made)} pairs of keys made in ${folder}${kept > 0 ? `, ${String(kept)} were there` : ""}\n`,
);

/** False where the file is there already: it stays as it is. */
function write(file: string, content: string | Buffer, mode: number): boolean {
  try {
    writeFileSync(file, content, { mode, flag: "wx" });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}
