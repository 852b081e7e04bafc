/** Return a `fetch` that tells how many bytes of a request's body, or else of its answer, are through. */
export const telling = (onBytes: (bytes: number) => void) => async (request: Request) => {
  const body = await request.blob();
  const sent = new XMLHttpRequest(); // fetch tells nothing of what is sent
  sent.open(request.method, request.url);
  sent.responseType = "blob";
  for (const [name, value] of request.headers) sent.setRequestHeader(name, value);
  (body.size ? sent.upload : sent).onprogress = ({ loaded }) => onBytes(loaded);
  await new Promise((resolve, reject) => {
    sent.onload = resolve;
    sent.onerror = reject;
    sent.send(body.size ? body : null);
  });
  return new Response(sent.response, { status: sent.status });
};
