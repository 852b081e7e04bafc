// Read when the server runs, and not as NEXT_PUBLIC_…, which would be fixed when the app is built.
export const apiUrl = process.env.API_URL ?? "http://localhost:8000";
