export async function register(): Promise<void> {
  if (process.env.NEXT_RUNTIME !== "nodejs") return;
  const { migrate } = await import("./instrumentation-node"); // not in the bundle of the edge, which has no processes
  await migrate();
}
