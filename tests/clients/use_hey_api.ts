// A day of a client that @hey-api/openapi-ts made, with its zod validators on every answer.
import {
  createTask,
  deleteTask,
  exportAll,
  importAll,
  ListTasksSort,
  listTasks,
  type Task,
  updateTask,
} from "./hey-api";
import { client } from "./hey-api/client.gen";

declare const process: { env: Record<string, string> };
client.setConfig({ baseUrl: process.env.API_URL, auth: process.env.TOKEN });

function is(found: unknown, wanted: unknown): void {
  if (found !== wanted) throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
}

async function every(): Promise<Task[]> {
  const tasks: Task[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await listTasks({
      query: { sort: ListTasksSort.CREATED_AT_DESC, limit: 1, cursor },
      throwOnError: true,
    });
    tasks.push(...page.data);
    cursor = page.response.headers.get("Next-Cursor") ?? undefined;
    if (!cursor) return tasks;
  }
}

async function main(): Promise<void> {
  const due_date = "2030-01-31T09:00:00+01:00";
  const body = { title: "Buy milk", description: "two", due_date };
  const { data: made } = await createTask({ body, throwOnError: true });
  await createTask({ body: { title: "Buy bread", priority: "high" }, throwOnError: true });
  is((await every()).map((task) => task.title).join(), "Buy bread,Buy milk");

  const path = { id: made.id };
  const cleared = { description: null, due_date: null };
  const { data: changed } = await updateTask({ path, body: cleared, throwOnError: true });
  is(changed.description, null);
  is(changed.title, "Buy milk");
  const late = await updateTask({ path, headers: { "If-Match": '"1"' }, body: { title: "Too late" } });
  is(late.error?.code, "PRECONDITION_FAILED");
  await updateTask({ path, headers: { "If-Match": '"2"' }, body: { title: "In time" }, throwOnError: true });

  const { data: document } = await exportAll({ throwOnError: true });
  await deleteTask({ path, headers: { "If-Match": '"3"' }, throwOnError: true });
  is((await every()).length, 1);
  is((await importAll({ body: document, throwOnError: true })).data.tasks, 1);
  is((await every()).length, 2);
}

main();
