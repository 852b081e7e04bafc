// The same reads in Fastify 5 with pg and @fastify/jwt, for comparison: no row-level security, no validation except of
// the token, no next page.
import fastifyJwt from "@fastify/jwt";
import Fastify from "fastify";
import pg from "pg";

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 });
const app = Fastify({ logger: false });
app.register(fastifyJwt, { secret: process.env.BETTER_AUTH_SECRET });
const authenticated = { onRequest: (request) => request.jwtVerify() };
const columns =
  "id, user_id, title, description, status, priority, due_date, recurrence_rule, tags, version, created_at, updated_at, completed_at";

app.get("/health", async () => ({ status: "ok" }));

app.get("/api/tasks", authenticated, async (request) => {
  const { rows } = await pool.query(
    `SELECT ${columns} FROM task WHERE user_id = $1 ORDER BY created_at DESC, id DESC LIMIT $2`,
    [request.user.sub, request.query.limit ?? 100],
  );
  return rows;
});

app.get("/api/tasks/:id", authenticated, async (request, reply) => {
  const { rows } = await pool.query(`SELECT ${columns} FROM task WHERE user_id = $1 AND id = $2`, [
    request.user.sub,
    request.params.id,
  ]);
  return rows[0] ?? reply.code(404).send({ error: "not found" });
});

await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
