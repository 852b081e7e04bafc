// Read at run time; NEXT_PUBLIC_… would be fixed at build time.
export const apiUrl = process.env.API_URL ?? "http://localhost:8000";
export const apiUrlInside = process.env.API_INTERNAL_URL ?? apiUrl; // as this server reaches it, and not as browsers do
