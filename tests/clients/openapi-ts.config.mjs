export default {
  input: "openapi.json",
  output: "hey-api",
  plugins: [
    "@hey-api/client-fetch",
    { name: "@hey-api/typescript", enums: "javascript" },
    { name: "@hey-api/sdk", validator: true },
    { name: "zod", dates: { offset: true } },
  ],
};
