export async function register(): Promise<void> {
  if (process.env.NEXT_RUNTIME !== "nodejs") return;
  const { migrate } = await import("./instrumentation-node"); // not in the edge bundle, which has no process.exit
  await migrate();
}
