// Read at run time; NEXT_PUBLIC_… would be fixed at build time.
export const apiUrl = process.env.API_URL ?? "http://localhost:8000";
