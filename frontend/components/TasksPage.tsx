"use client";

import { QueryClientProvider } from "@tanstack/react-query";
import { LogOut } from "lucide-react";
import { useRouter } from "next/navigation";
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";

import { type Api, createApi, type Filters } from "@/lib/api";
import { authClient } from "@/lib/auth-client";
import { createLive } from "@/lib/live";
import { createSync } from "@/lib/sync";
import { AppProvider, createQueries, type Done } from "@/lib/tasks";
import { isTyping } from "@/lib/typing";
import { problemOf } from "@/lib/words";

import { Brand } from "./Brand";
import { ConnectionStatus } from "./ConnectionStatus";
import { FilterBar } from "./FilterBar";
import { NewTask } from "./NewTask";
import { Notice } from "./Notice";
import { TaskList } from "./TaskList";
import { UndoNotice } from "./UndoNotice";

/** The page with one user's tasks. */
export function TasksPage({ user, apiUrl }: { user: { id: string; name: string }; apiUrl: string }) {
  const router = useRouter();
  const [api] = useState<Api>(() => createApi(apiUrl, user.id));
  const [queries] = useState(() => createQueries(leave));
  const [live] = useState(() => createLive(api, { ...createSync(queries, api), onSignedOut: leave }));
  const connection = useSyncExternalStore(live.subscribe, live.connection, live.connection);
  const [filters, setFilters] = useState<Filters>({});
  const [problem, setProblem] = useState("");
  const [done, setDone] = useState<Done>();
  const forget = useCallback(() => setDone(undefined), []);
  const title = useRef<HTMLInputElement>(null);
  const search = useRef<HTMLInputElement>(null);

  function leave() {
    router.replace("/sign-in");
    router.refresh();
  }

  async function signOut() {
    const found = await problemOf(authClient.signOut());
    setProblem(found);
    if (!found) leave();
  }

  useEffect(() => {
    function onKey(event: KeyboardEvent) {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
      const field = { n: title, "/": search }[event.key];
      if (field) {
        event.preventDefault();
        field.current?.focus();
      }
    }
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);

  return (
    <QueryClientProvider client={queries}>
      <AppProvider value={{ api, isReady: connection !== "opening", offerUndo: setDone }}>
        <header>
          <Brand />
          <span className="who">{user.name}</span>
          <button className="quiet" type="button" onClick={signOut}>
            <LogOut aria-hidden /> Sign out
          </button>
        </header>
        <main>
          {problem && <Notice actions={{ "Try again": signOut }}>You are still signed in. {problem}</Notice>}
          <NewTask titleField={title} />
          <FilterBar filters={filters} setFilters={setFilters} searchField={search} />
          <TaskList filters={filters} />
          <div className="toasts">
            <ConnectionStatus isLost={connection === "lost"} />
            <UndoNotice done={done} close={forget} />
          </div>
        </main>
        <footer>
          <kbd>n</kbd> new task <kbd>/</kbd> search <kbd>Esc</kbd> cancel <kbd>Ctrl Z</kbd> undo
        </footer>
      </AppProvider>
    </QueryClientProvider>
  );
}
