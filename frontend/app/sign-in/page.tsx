import { headers } from "next/headers";
import { redirect } from "next/navigation";

import { SignIn } from "@/components/SignIn";
import { auth } from "@/lib/auth";

export default async function Page() {
  if (await auth.api.getSession({ headers: await headers() })) redirect("/");
  return <SignIn />;
}
