import { getMigrations } from "better-auth/db/migration";

import { options } from "@/lib/auth-options";

/** Before the first request, create or update Better Auth's tables; exit if that fails. */
export async function migrate(): Promise<void> {
  try {
    const client = await options.database.connect();
    // One server at a time. The lock belongs to a transaction, so it also works through a connection pooler.
    await client.query("BEGIN");
    await client.query("SET LOCAL lock_timeout = '60s'");
    await client.query("SELECT pg_advisory_xact_lock(hashtext('better-auth'))");
    const { runMigrations } = await getMigrations(options);
    await runMigrations();
    await client.query("COMMIT");
    client.release();
  } catch (error) {
    console.error(`The tables of Better Auth cannot be made on DATABASE_URL: ${error}`);
    process.exit(1);
  }
}
