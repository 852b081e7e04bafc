import { headers } from "next/headers";
import { redirect } from "next/navigation";

import { TasksPage } from "@/components/TasksPage";
import { auth } from "@/lib/auth";

export default async function Page() {
  const session = await auth.api.getSession({ headers: await headers() });
  if (!session) redirect("/sign-in");
  // Read here, and not as NEXT_PUBLIC_…, which would be fixed when the app is built.
  const { id, name } = session.user;
  return <TasksPage user={{ id, name }} apiUrl={process.env.API_URL ?? "http://localhost:8000"} />;
}
