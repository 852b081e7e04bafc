/** Send a request with no limit of time, and tell how many bytes of its body, or else of its answer, are through. */
export async function transfer(request: Request, onBytes: (bytes: number) => void): Promise<Response> {
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
}
