import { headers } from "next/headers";
import { redirect } from "next/navigation";

import { TasksPage } from "@/components/TasksPage";
import { auth } from "@/lib/auth";
import { apiUrl } from "@/lib/settings";

export default async function Page() {
  const session = await auth.api.getSession({ headers: await headers() });
  if (!session) redirect("/sign-in");
  const { id, name } = session.user;
  // With a key, so that no state of one user is left when another user's page replaces it.
  return <TasksPage key={id} user={{ id, name }} apiUrl={apiUrl} />;
}
