/** Serve a Better Auth from a module that exports it as `auth`, with its tables made; prints a line when it listens. */
import { createServer } from "node:http";

const { auth } = await import(process.argv[2]);
const { getMigrations } = await import("better-auth/db/migration");
const { toNodeHandler } = await import("better-auth/node");
const { runMigrations } = await getMigrations(auth.options);
await runMigrations();
const { hostname, port } = new URL(process.env.BETTER_AUTH_URL);
createServer(toNodeHandler(auth)).listen(Number(port), hostname, () => console.log("listening"));
