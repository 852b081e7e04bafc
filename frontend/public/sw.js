// Lets the app start without a network, and never shows yesterday's app: pages come from the network, and only where that
// fails the last one. Files with a hash in their names never change. Nothing else is kept, of the API or of Better Auth.

const VIEW = /^\/(today|upcoming|all|completed|tags)(\/|$)/; // one page, whose copy is every view's (lib/views.ts)
const MOST_FILES = 200;
const ABSENT = "You are offline, and this page is not on this device. Try again when you are back.";

async function page(event) {
  const { pathname } = new URL(event.request.url);
  const pages = await caches.open("page");
  let answer;
  try {
    answer = await fetch(event.request);
    if (pathname === "/sign-in") event.waitUntil(caches.delete("page"));
    else if (answer.ok && VIEW.test(pathname)) event.waitUntil(pages.put("/", answer.clone()));
    if (answer.status < 502 || answer.status > 504) return answer; // else it is a proxy's, without the app
  } catch {
    // without a network
  }
  const copy = await pages.match("/");
  if (copy && pathname === "/") return Response.redirect("/today");
  if (copy && VIEW.test(pathname)) return copy;
  return answer ?? new Response(ABSENT, { status: 503, headers: { "Content-Type": "text/plain; charset=utf-8" } });
}

async function file(event) {
  const files = await caches.open("files");
  const copy = await files.match(event.request);
  if (copy) return copy;
  const answer = await fetch(event.request);
  if (!answer.ok || !answer.headers.get("Cache-Control")?.includes("immutable")) return answer;
  event.waitUntil(files.put(event.request, answer.clone()));
  for (const old of (await files.keys()).slice(0, -MOST_FILES)) event.waitUntil(files.delete(old));
  return answer;
}

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (origin !== location.origin || event.request.method !== "GET") return;
  if (pathname.startsWith("/_next/static/")) event.respondWith(file(event));
  else if (event.request.mode === "navigate" && !pathname.startsWith("/api/")) event.respondWith(page(event));
});
