import type { KeyObject } from "node:crypto";
import { createPrivateKey, createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { deriveKey } from "./secret.ts";

/** The keys with which roles prove themselves to each other: Ed25519, one a role. */
export interface AssertionKeys {
  /** Signs what a role says. @throws Error where this process has no such key: it does not run that role. */
  privateKey(role: string): KeyObject;
  /** Verifies what a role says. @throws Error where there is no such key */
  publicKey(role: string): KeyObject;
}

/** Keys that follow from the secret which all processes share: each of them could speak for any role. */
export function derivedKeys(secret: string): AssertionKeys {
  const keys = new Map<string, KeyObject>();
  const privateKey = (role: string): KeyObject => {
    let key = keys.get(role);
    if (!key) {
      key = ed25519Of(deriveKey(secret, role, "assertion"));
      keys.set(role, key);
    }
    return key;
  };
  return { privateKey, publicKey: (role) => createPublicKey(privateKey(role)) };
}

/**
 * Keys of a folder, in PEM: `<role>.pub` of all roles, `<role>.key` of those that run here. No process can speak for a
 * role whose key it was not given.
 * @throws Error where a file is missing or holds no Ed25519 key
 */
export function keysIn(folder: string, own: readonly string[], all: readonly string[]): AssertionKeys {
  const privateKeys = new Map(own.map((role) => [role, readKey(join(folder, `${role}.key`), createPrivateKey)]));
  const publicKeys = new Map(all.map((role) => [role, readKey(join(folder, `${role}.pub`), createPublicKey)]));
  for (const [role, key] of privateKeys) {
    const published = publicKeys.get(role);
    if (published && !createPublicKey(key).equals(published)) {
      throw new Error(`KEYS_DIR: ${role}.key and ${role}.pub in ${folder} do not belong together`);
    }
  }
  const found = (keys: ReadonlyMap<string, KeyObject>, role: string): KeyObject => {
    const key = keys.get(role);
    if (!key) throw new Error(`there is no key of the role ${role}`);
    return key;
  };
  return { privateKey: (role) => found(privateKeys, role), publicKey: (role) => found(publicKeys, role) };
}

function readKey(file: string, parse: (pem: string) => KeyObject): KeyObject {
  try {
    const key = parse(readFileSync(file, "utf8"));
    if (key.asymmetricKeyType !== "ed25519") throw new Error("it is no Ed25519 key");
    return key;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`KEYS_DIR: ${file}: ${why}; npm run keys makes all keys`, { cause });
  }
}

/** What stands before the 32 bytes of an Ed25519 private key in PKCS #8; RFC 8410. */
const pkcs8Prefix = Buffer.from("302e020100300506032b657004220420", "hex");

function ed25519Of(seed: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: "der", type: "pkcs8" });
}
