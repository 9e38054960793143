import { ConfigError, readConfig, roleSpec } from "./config.ts";
import type { ConfiguredRole } from "./config.ts";
import { reader } from "./config-validators.ts";
import type { ConfigSpec, Read } from "./config-validators.ts";

/** A key of the configuration, for its documentation. */
export interface ConfigKey {
  readonly key: string;
  readonly spec: ConfigSpec[string];
  /** The roles that read it where they run alone. */
  readonly readBy: readonly string[];
  /** The role whose code brings it; undefined for the platform's own. */
  readonly owner: string | undefined;
}

/** Every key that any role reads, in the order of reading; noted while the configuration is read, so none is missed. */
export function configKeys(known: Readonly<Record<string, ConfiguredRole>>): ConfigKey[] {
  const found = new Map<string, { spec: ConfigSpec[string]; readBy: Set<string> }>();
  for (const role of Object.keys(known)) {
    const problems: string[] = [];
    const read = reader({}, problems);
    const noting: Read = (spec) => {
      for (const [key, value] of Object.entries(spec)) {
        const readBy = found.get(key)?.readBy ?? new Set<string>();
        found.set(key, { spec: value, readBy: readBy.add(role) });
      }
      return read(spec);
    };
    noting(roleSpec);
    try {
      readConfig(noting, problems, known, [role]);
    } catch (error) {
      // Nothing is given, so something is missing; all keys have been read by then.
      if (!(error instanceof ConfigError)) throw error;
    }
  }
  const ownerOf = (key: string) => Object.keys(known).find((role) => Object.hasOwn(known[role]?.config ?? {}, key));
  return [...found].map(([key, { spec, readBy }]) => ({ key, spec, readBy: [...readBy], owner: ownerOf(key) }));
}
