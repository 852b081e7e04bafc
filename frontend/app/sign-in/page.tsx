import { SignIn } from "@/components/SignIn";

export default function Page() {
  return <SignIn />;
}
