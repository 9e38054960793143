import { argon2, randomBytes, timingSafeEqual } from "node:crypto";
import { promisify } from "node:util";

/** The cost of argon2id: KiB of memory, passes over it, lanes. */
export interface Cost {
  readonly memory: number;
  readonly passes: number;
  readonly parallelism: number;
}

/** What passwords are hashed with: 19 MiB, two passes, one lane; 18 ms. */
export const COST: Cost = { memory: 19_456, passes: 2, parallelism: 1 };

const SALT_BYTES = 16;
const HASH_BYTES = 32;

const derive = promisify(argon2);

/** A stored password hash, taken apart. */
interface Stored {
  readonly cost: Cost;
  readonly salt: Buffer;
  readonly hash: Buffer;
}

/** Hashes a password to a PHC string: `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>`. */
export async function hashPassword(password: string, cost: Cost = COST): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  return format({ cost, salt, hash: await argon2id(password, salt, cost, HASH_BYTES) });
}

/** Whether a password is that of a PHC string, whatever cost it was hashed with. */
export async function verifyPassword(password: string, phc: string): Promise<boolean> {
  const { cost, salt, hash } = parse(phc);
  return timingSafeEqual(await argon2id(password, salt, cost, hash.length), hash);
}

/** Whether a PHC string has another cost than passwords are hashed with today. */
export function isOutdated(phc: string): boolean {
  const { cost } = parse(phc);
  return cost.memory !== COST.memory || cost.passes !== COST.passes || cost.parallelism !== COST.parallelism;
}

/** A PHC string that no password is known for: comparing with it takes the time of comparing with a real one. */
export function nobodysPassword(): string {
  return format({ cost: COST, salt: randomBytes(SALT_BYTES), hash: randomBytes(HASH_BYTES) });
}

/** The same text in another Unicode form is the same password: keyboards differ in what they send. */
function argon2id(password: string, nonce: Buffer, cost: Cost, tagLength: number): Promise<Buffer> {
  const message = Buffer.from(password.normalize("NFKC"));
  return derive("argon2id", { message, nonce, tagLength, ...cost });
}

function format({ cost, salt, hash }: Stored): string {
  const { memory, passes, parallelism } = cost;
  const parameters = `m=${String(memory)},t=${String(passes)},p=${String(parallelism)}`;
  return `$argon2id$v=19$${parameters}$${base64(salt)}$${base64(hash)}`;
}

const phcFormat = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$/;

function parse(phc: string): Stored {
  const [, memory, passes, parallelism, salt = "", hash = ""] = phcFormat.exec(phc) ?? [];
  if (memory === undefined) throw new Error("A stored password hash is damaged.");
  return {
    cost: { memory: Number(memory), passes: Number(passes), parallelism: Number(parallelism) },
    salt: Buffer.from(salt, "base64"),
    hash: Buffer.from(hash, "base64"),
  };
}

/** Base64 without padding, as PHC strings have it. */
function base64(bytes: Buffer): string {
  return bytes.toString("base64").replace(/=+$/, "");
}
