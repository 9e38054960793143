import { registerHooks } from "node:module";

/** Loaded before a program (`node --import`): it then prints, as its last line, which packages it has loaded. */
const packages = new Set<string>();
registerHooks({
  load(url, context, nextLoad) {
    const [, name] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? [];
    if (name !== undefined) packages.add(name);
    return nextLoad(url, context);
  },
});
process.once("exit", () => {
  process.stdout.write(`loaded ${[...packages].join(" ")}\n`);
});
