/**
 * Serve a Better Auth from a TypeScript module that exports it as `auth`, with its tables made; prints a line when it
 * listens. The types are not checked.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import ts from "typescript";

const source = process.argv[2];
const compiled = source.replace(/ts$/, "js");
const compilerOptions = { module: "esnext", target: "es2022" };
writeFileSync(compiled, ts.transpileModule(readFileSync(source, "utf8"), { compilerOptions }).outputText);
const { auth } = await import(compiled);
const { runMigrations } = await getMigrations(auth.options);
await runMigrations();
const { hostname, port } = new URL(process.env.BETTER_AUTH_URL);
createServer(toNodeHandler(auth)).listen(Number(port), hostname, () => console.log("listening"));
