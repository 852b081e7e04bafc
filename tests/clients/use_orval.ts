// A day of a client that orval made, with its zod validators on the answers.
import {
  createTask,
  deleteTask,
  exportAll,
  importAll,
  ListTasksSort,
  listTasks,
  type Task,
  updateTask,
} from "./orval/client";
import { CreateTaskResponse, ExportAllResponse, ListTasksResponse, UpdateTaskResponse } from "./orval/zod";

declare const process: { env: Record<string, string> };
const asUser = { headers: { Authorization: `Bearer ${process.env.TOKEN}` } };

function is(found: unknown, wanted: unknown): void {
  if (found !== wanted) throw new Error(`${JSON.stringify(found)} is not ${JSON.stringify(wanted)}`);
}

async function every(): Promise<Task[]> {
  const tasks: Task[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await listTasks({ sort: ListTasksSort.CREATED_AT_DESC, limit: 1, cursor }, asUser);
    tasks.push(...ListTasksResponse.parse(page.data));
    cursor = page.headers.get("Next-Cursor") ?? undefined;
    if (!cursor) return tasks;
  }
}

async function main(): Promise<void> {
  const due_date = "2030-01-31T09:00:00+01:00";
  const answer = await createTask({ title: "Buy milk", description: "two", due_date }, {}, asUser);
  const made = CreateTaskResponse.parse(answer.data);
  await createTask({ title: "Buy bread", priority: "high" }, {}, asUser);
  is((await every()).map((task) => task.title).join(), "Buy bread,Buy milk");

  const cleared = await updateTask(made.id, { description: null, due_date: null }, {}, asUser);
  const changed = UpdateTaskResponse.parse(cleared.data);
  is(changed.description, null);
  is(changed.title, "Buy milk");
  const late = await updateTask(made.id, { title: "Too late" }, { "If-Match": '"1"' }, asUser);
  is(late.status === 412 && late.data.code, "PRECONDITION_FAILED");
  is((await updateTask(made.id, { title: "In time" }, { "If-Match": '"2"' }, asUser)).status, 200);

  const document = ExportAllResponse.parse((await exportAll({}, asUser)).data);
  is((await deleteTask(made.id, { "If-Match": '"3"' }, asUser)).status, 204);
  is((await every()).length, 1);
  const taken = await importAll(document, asUser);
  is(taken.status === 200 && taken.data.tasks, 1);
  is((await every()).length, 2);
}

main();
