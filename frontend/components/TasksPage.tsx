"use client";

import { QueryClientProvider } from "@tanstack/react-query";
import { LogOut } from "lucide-react";
import { usePathname, useRouter, useSearchParams } from "next/navigation";
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";

import { type Api, createApi } from "@/lib/api";
import { authClient } from "@/lib/auth-client";
import { keep } from "@/lib/keep";
import { createLive } from "@/lib/live";
import { createOutbox, unsentOf } from "@/lib/outbox";
import { createSync } from "@/lib/sync";
import { AppProvider, createQueries, type Done } from "@/lib/tasks";
import { useToday } from "@/lib/today";
import { isTyping } from "@/lib/typing";
import { refine, viewAt } from "@/lib/views";
import { problemOf, waitInWords } from "@/lib/words";

import { Brand } from "./Brand";
import { ConnectionStatus } from "./ConnectionStatus";
import { NewTask } from "./NewTask";
import { Notice } from "./Notice";
import { TagsPage } from "./TagsPage";
import { TaskList } from "./TaskList";
import { Toolbar } from "./Toolbar";
import { UndoNotice } from "./UndoNotice";
import { Views } from "./Views";

/** One user's tasks, in the view that the address says. */
export function TasksPage({ user, apiUrl }: { user: { id: string; name: string }; apiUrl: string }) {
  const router = useRouter();
  const [api] = useState<Api>(() => createApi(apiUrl, user.id));
  const [queries] = useState(() => createQueries(leave));
  useState(() => createOutbox(queries, api, (done) => setDone(done)));
  const [live] = useState(() => createLive(api, { ...createSync(queries, api), onSignedOut: leave }));
  const connection = useSyncExternalStore(live.subscribe, live.connection, live.connection);
  const path = usePathname();
  const search = useSearchParams();
  const today = useToday();
  const view = viewAt(path);
  const [problem, setProblem] = useState("");
  const [done, setDone] = useState<Done>();
  const [unsent, setUnsent] = useState(0); // what a sign-out would lose
  const kept = useRef<ReturnType<typeof keep>>(undefined);
  const forget = useCallback(() => setDone(undefined), []);
  const title = useRef<HTMLInputElement>(null);
  const searchField = useRef<HTMLInputElement>(null);

  function leave() {
    kept.current?.hide();
    router.replace("/sign-in");
    router.refresh();
  }

  async function signOut(isSure = false) {
    const left = unsentOf(queries);
    setUnsent(isSure ? 0 : left);
    if (left && !isSure) return;
    const found = await problemOf(authClient.signOut());
    setProblem(found);
    if (found) return;
    await kept.current?.erase();
    leave();
  }

  useEffect(() => {
    kept.current = keep(queries, user.id, leave);
    return kept.current.stop;
  }, [queries, user.id]);

  useEffect(() => {
    function onKey(event: KeyboardEvent) {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event)) return;
      const field = { n: title, "/": searchField }[event.key];
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
      <AppProvider value={{ api, userId: user.id, isReady: connection !== "opening", offerUndo: setDone }}>
        <header>
          <Brand />
          <span className="who">{user.name}</span>
          <button className="quiet" type="button" onClick={() => signOut()}>
            <LogOut aria-hidden /> Sign out
          </button>
        </header>
        <Views />
        <main>
          {unsent > 0 && (
            <Notice actions={{ Stay: () => setUnsent(0), "Sign out": () => signOut(true) }}>
              {waitInWords(unsent)} If you sign out now, that is lost.
            </Notice>
          )}
          {problem && (
            <Notice actions={{ "Try again": () => signOut(true) }}>You are still signed in. {problem}</Notice>
          )}
          <h1>{view?.name ?? "Tags"}</h1>
          {view ? (
            <>
              {path !== "/completed" && <NewTask titleField={title} adds={view.adds?.(today) ?? {}} />}
              <Toolbar key={`bar ${path}`} searchField={searchField} />
              <TaskList key={`list ${path}`} view={view} filters={refine(view.filters(today), search)} today={today} />
            </>
          ) : (
            <TagsPage />
          )}
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
