import { headers } from "next/headers";
import { notFound, redirect } from "next/navigation";

import { TasksPage } from "@/components/TasksPage";
import { auth } from "@/lib/auth";
import { apiUrl } from "@/lib/settings";
import { viewAt } from "@/lib/views";

interface Props {
  params: Promise<{ view?: string[] }>;
}

/** Every view is this page: the browser shows another one without asking for a new page. */
export default async function Page({ params }: Props) {
  const { view } = await params;
  const path = view?.join("/");
  if (path && !["tags", "account"].includes(path) && !viewAt(`/${path}`)) notFound();
  const session = await auth.api.getSession({ headers: await headers() });
  if (!session) redirect("/sign-in");
  if (!view) redirect("/today");
  const { id, name, email } = session.user;
  // With a key, so that no state of one user is left when another user's page replaces it.
  return <TasksPage key={id} user={{ id, name, email }} apiUrl={apiUrl} />;
}
