import { type NextRequest, NextResponse } from "next/server";

import { apiUrl } from "./lib/settings";

const inDevelopment = process.env.NODE_ENV === "development";

/** Let a page run only its own scripts, and connect only to this app and to the API. */
export function proxy(request: NextRequest): NextResponse {
  const nonce = btoa(crypto.randomUUID());
  const policy = [
    "default-src 'self'",
    // React's debugging needs eval, and the tools of `next dev` need inline styles.
    `script-src 'self' 'nonce-${nonce}' 'strict-dynamic'${inDevelopment ? " 'unsafe-eval'" : ""}`,
    `style-src 'self' ${inDevelopment ? "'unsafe-inline'" : `'nonce-${nonce}'`}`,
    "worker-src 'self'", // 'strict-dynamic' would take its place
    `connect-src 'self' ${new URL(apiUrl).origin}`,
    "img-src 'self' data:",
    "object-src 'none'",
    "base-uri 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
  ].join("; ");
  const headers = new Headers(request.headers);
  headers.set("Content-Security-Policy", policy); // Next.js reads the nonce for its own scripts from it
  const response = NextResponse.next({ request: { headers } });
  response.headers.set("Content-Security-Policy", policy);
  return response;
}

export const config = { matcher: "/((?!api/|_next/).*)" };
