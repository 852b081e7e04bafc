/**
 * Serve a Better Auth from a TypeScript module that exports it as `auth`, with its tables made; prints a line when it
 * listens. The types of the module, and of those beside it, are not checked.
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import ts from "typescript";

const source = process.argv[2];
const compilerOptions = { module: "esnext", target: "es2022" };
for (const name of readdirSync(dirname(source)).filter((each) => each.endsWith(".ts"))) {
  const path = join(dirname(source), name);
  const { outputText } = ts.transpileModule(readFileSync(path, "utf8"), { compilerOptions });
  // As bundlers do, find a module without the end of its name.
  writeFileSync(path.replace(/ts$/, "js"), outputText.replace(/from "(\.[^"]*)"/g, 'from "$1.js"'));
}
const { auth } = await import(source.replace(/ts$/, "js"));
const { runMigrations } = await getMigrations(auth.options);
await runMigrations();
const { hostname, port } = new URL(process.env.BETTER_AUTH_URL);
createServer(toNodeHandler(auth)).listen(Number(port), hostname, () => console.log("listening"));
