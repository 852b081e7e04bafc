import { useState } from "react";

import { readable } from "@/lib/dates";
import { useHistory } from "@/lib/tasks";
import { entryInWords } from "@/lib/words";

import { Notice } from "./Notice";

/** What was done to a task, once it is opened. */
export function History({ id }: { id: string }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details className="history" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>History</summary>
      {isOpen && <Entries id={id} />}
    </details>
  );
}

function Entries({ id }: { id: string }) {
  const { data, error, isPending, hasNextPage, fetchNextPage, refetch, isFetchNextPageError } = useHistory(id);
  return (
    <>
      {isPending && <p role="status">Loading …</p>}
      <ol>
        {data?.pages
          .flatMap(({ entries }) => entries)
          .map((entry) => (
            <li key={entry.seq}>
              <span dir="auto">{entryInWords(entry)}</span>
              <small>
                <time dateTime={entry.at}>{readable(entry.at)}</time>
                {entry.by && ` by ${entry.by}`}
              </small>
            </li>
          ))}
      </ol>
      {error && (
        <Notice actions={{ "Try again": () => (isFetchNextPageError ? fetchNextPage() : refetch()) }}>
          {error.message}
        </Notice>
      )}
      {hasNextPage && (
        <button type="button" onClick={() => fetchNextPage()}>
          Show more
        </button>
      )}
    </>
  );
}
