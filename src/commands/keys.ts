import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
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
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  try {
    writeFileSync(join(folder, `${role}.key`), privateKey.export({ format: "pem", type: "pkcs8" }), {
      mode: 0o600,
      flag: "wx",
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") continue;
    throw error;
  }
  writeFileSync(join(folder, `${role}.pub`), publicKey.export({ format: "pem", type: "spki" }));
  made += 1;
}
const kept = Object.keys(registry).length - made;
process.stdout.write(
  `${String(made)} pairs of keys made in ${folder}${kept > 0 ? `, ${String(kept)} were there` : ""}\n`,
);
