"use client";

import { QueryClientProvider } from "@tanstack/react-query";
import { LogOut, UserRound } from "lucide-react";
import dynamic from "next/dynamic";
import { usePathname, useRouter, useSearchParams } from "next/navigation";
import { useCallback, useEffect, useRef, useState, useSyncExternalStore } from "react";

import { authClient } from "@/lib/auth-client";
import { createLive } from "@/lib/live";
import { createSync } from "@/lib/sync";
import { AppProvider, createQueries, type Done } from "@/lib/tasks";
import { useToday } from "@/lib/today";
import { apiFor } from "@/lib/token";
import { isTyping } from "@/lib/typing";
import { refine, viewAt } from "@/lib/views";
import { problemOf } from "@/lib/words";

import { Brand } from "./Brand";
import { ConnectionStatus } from "./ConnectionStatus";
import { NewTask } from "./NewTask";
import { Notice } from "./Notice";
import { TagsPage } from "./TagsPage";
import { TaskList } from "./TaskList";
import { Toolbar } from "./Toolbar";
import { UndoNotice } from "./UndoNotice";
import { ViewLink, Views } from "./Views";

const AccountPage = dynamic(() => import("./AccountPage").then((module) => module.AccountPage));

/** One user's tasks, in the view that the address says. */
export function TasksPage({ user, apiUrl }: { user: { id: string; name: string; email: string }; apiUrl: string }) {
  const router = useRouter();
  const [api] = useState(() => apiFor(user.id, apiUrl));
  const [queries] = useState(() => createQueries(leave));
  const [live] = useState(() => createLive(api, { ...createSync(queries, api), onSignedOut: leave }));
  const connection = useSyncExternalStore(live.subscribe, live.connection, live.connection);
  const path = usePathname();
  const search = useSearchParams();
  const today = useToday();
  const view = viewAt(path);
  const [problem, setProblem] = useState("");
  const [done, setDone] = useState<Done>();
  const forget = useCallback(() => setDone(undefined), []);
  const title = useRef<HTMLInputElement>(null);
  const searchField = useRef<HTMLInputElement>(null);

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
      <AppProvider value={{ api, isReady: connection !== "opening", offerUndo: setDone }}>
        <header>
          <Brand />
          <span className="who">
            <ViewLink path="/account">
              <UserRound aria-hidden /> {user.name}
            </ViewLink>
          </span>
          <button className="quiet" type="button" onClick={signOut}>
            <LogOut aria-hidden /> Sign out
          </button>
        </header>
        <Views />
        <main>
          {problem && <Notice actions={{ "Try again": signOut }}>You are still signed in. {problem}</Notice>}
          <h1>{view?.name ?? (path === "/account" ? "My account" : "Tags")}</h1>
          {view ? (
            <>
              {path !== "/completed" && <NewTask titleField={title} adds={view.adds?.(today) ?? {}} />}
              <Toolbar key={`bar ${path}`} searchField={searchField} />
              <TaskList key={`list ${path}`} view={view} filters={refine(view.filters(today), search)} today={today} />
            </>
          ) : path === "/account" ? (
            <AccountPage user={user} apiUrl={apiUrl} />
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
