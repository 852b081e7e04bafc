import { headers } from "next/headers";
import { redirect } from "next/navigation";

import { SignIn } from "@/components/SignIn";
import { auth } from "@/lib/auth";
import { canMail } from "@/lib/mail";

type Said = "token" | "error" | "deleted";

/** Also where the link of a mail about a forgotten password leads to, with a token or an error. */
export default async function Page({ searchParams }: { searchParams: Promise<Partial<Record<Said, string>>> }) {
  const { token, error, deleted } = await searchParams;
  if (!token && !error && (await auth.api.getSession({ headers: await headers() }))) redirect("/");
  return <SignIn token={token} isExpired={Boolean(error)} isDeleted={deleted !== undefined} canMail={canMail} />;
}
