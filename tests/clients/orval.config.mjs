const input = "openapi.json";

export default {
  client: {
    input,
    output: { target: "orval/client.ts", client: "fetch", headers: true, baseUrl: process.env.API_URL },
  },
  validators: {
    input,
    output: { target: "orval/zod.ts", client: "zod", override: { zod: { dateTimeOptions: { offset: true } } } },
  },
};
