/** Before the first request, make Better Auth's tables, or bring them up to date. */
export async function register(): Promise<void> {
  if (process.env.NEXT_RUNTIME !== "nodejs") return;
  const { getMigrations } = await import("better-auth/db/migration");
  const { options } = await import("@/lib/auth-options");
  const { runMigrations } = await getMigrations(options);
  await runMigrations();
}
