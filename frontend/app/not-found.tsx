import Link from "next/link";

import { Brand } from "@/components/Brand";

export default function NotFound() {
  return (
    <main className="sign-in">
      <Brand />
      <p>There is nothing here.</p>
      <Link href="/">Your tasks</Link>
    </main>
  );
}
