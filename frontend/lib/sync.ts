import type { Query, QueryClient } from "@tanstack/react-query";

import type { Api, Changes, Filters, Task } from "better-tasks-client";
import { isBack } from "./outbox";
import { newer, type Pages, show } from "./tasks";

const REFETCH_MS = 500;
// The fields that a filter looks at, if it has not the name of one.
const FILTERED: Record<string, (keyof Task)[]> = {
  tag: ["tags"],
  q: ["title", "description"],
  due: ["due_date"],
  due_from: ["due_date"],
  due_after: ["due_date"],
  due_before: ["due_date"],
  completed: ["completed_at"],
  completed_from: ["completed_at"],
  completed_after: ["completed_at"],
  completed_before: ["completed_at"],
};

/** Whether a list may show a changed task elsewhere by now, or for the first time: where, only the API can say. */
function mayMove({ sort = "-created_at", ...filters }: Filters, shown: Task | undefined, task: Task): boolean {
  if (!shown || shown.version >= task.version) return !shown;
  const fields = [...Object.keys(filters).flatMap((name) => FILTERED[name] ?? [name]), sort.replace("-", "")];
  return fields.some(
    (field) => JSON.stringify(shown[field as keyof Task]) !== JSON.stringify(task[field as keyof Task]),
  );
}

/** Whether a query must be sent again after changes from elsewhere: to change the tasks that it has is not enough. */
function isOutdated({ queryKey: [name, of], state }: Query, changes: Changes["changes"]): boolean {
  if (state.fetchStatus === "fetching") return true; // its answer may be from before
  if (name === "history") return changes.some(({ id }) => id === of);
  if (name !== "tasks") return name === "tags"; // with the number of their tasks
  const shown = new Map(
    (state.data as Pages | undefined)?.pages.flatMap(({ tasks }) => tasks.map((each) => [each.id, each])),
  );
  return changes.some(
    (change) =>
      change.resource === "tasks" &&
      "row" in change &&
      mayMove(of as Filters, shown.get(change.id), change.row as Task),
  );
}

/** Return what brings changes from elsewhere into the cache: each task at once, and lists that only the API can make. */
export function createSync(queries: QueryClient, api: Api) {
  const outdated = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let sentAt = 0;

  async function send() {
    timer = undefined;
    sentAt = Date.now();
    const hashes = new Set(outdated);
    outdated.clear();
    if (queries.isMutating()) return; // everything is fetched again when the last change has ended
    const predicate = ({ queryHash }: Query) => hashes.has(queryHash);
    // A first fetch would not be replaced by the second one.
    await queries.cancelQueries({ predicate: (query) => predicate(query) && query.state.data === undefined });
    await queries.invalidateQueries({ predicate });
  }

  return {
    /** Begin, or go on after a pause: without knowledge of what happened before, everything is fetched again. */
    async onOpen(isResumed: boolean): Promise<void> {
      isBack();
      if (queries.isMutating()) return; // as above
      if (isResumed) return queries.invalidateQueries({ predicate: ({ state }) => state.status === "error" });
      // A page does not wait for its stream. So what it fetches for the first time may be from before, and comes again.
      const first = queries.getQueryCache().findAll({ predicate: ({ state }) => state.data === undefined });
      await Promise.allSettled(first.map(({ promise }) => promise));
      return queries.invalidateQueries();
    },

    onChanges({ seq, changes }: Changes): void {
      // After changes of our own, everything is fetched again anyway.
      const isForeign = changes.length > 0 && seq > api.newest() && !queries.isMutating();
      for (const query of isForeign ? queries.getQueryCache().getAll() : [])
        if (isOutdated(query, changes)) outdated.add(query.queryHash);
      for (const change of changes)
        if (change.resource === "tasks")
          show(queries, change.id, (shown) => ("row" in change ? newer(shown, change.row as Task) : null));
      if (outdated.size && !timer) timer = setTimeout(send, Math.max(0, sentAt + REFETCH_MS - Date.now()));
    },
  };
}
