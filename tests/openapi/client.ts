// What a frontend writes against the generated types: it must compile under --strict.
import createClient from "openapi-fetch";

import type { components, paths } from "./schema";

type Task = components["schemas"]["Task"];

const api = createClient<paths>({ baseUrl: "http://localhost:8000", headers: { Authorization: "Bearer …" } });

export async function open(): Promise<Task[]> {
  const { data, error } = await api.GET("/api/tasks", {
    params: { query: { status: ["pending", "in_progress"], sort: "-due_date", limit: 50 } },
  });
  if (error) throw new Error(error.code === "TOKEN_EXPIRED" ? "sign in again" : error.detail);
  return data;
}

export async function add(title: string, key: string): Promise<Task> {
  const { data, error } = await api.POST("/api/tasks", {
    params: { header: { "Idempotency-Key": key } },
    body: { title },
  });
  if (error) throw new Error(error.errors?.[0]?.message ?? error.detail);
  return data;
}

export async function complete(task: Task): Promise<Task> {
  const { data, error } = await api.PATCH("/api/tasks/{id}", {
    params: { path: { id: task.id }, header: { "If-Match": `"${task.version}"` } },
    body: { status: "completed", due_date: null },
  });
  if (error) throw new Error(error.detail);
  const when: string | null = data.completed_at;
  return { ...data, completed_at: when };
}

export async function copy(): Promise<number> {
  const { data: everything } = await api.GET("/api/export");
  if (!everything || typeof everything === "string") return 0; // CSV and iCalendar are text
  const { data } = await api.POST("/api/import", { body: everything });
  return data?.tasks ?? 0;
}
