// Passkeys: the ceremony of WebAuthn around a form. data-passkey="get" | "create"; data-passkey-options is the id of the JSON with
// what the server asks for; a form with data-passkey-ask fetches it from its own address first (signing in by passkey alone).
const say = (portuguese, english) => (document.documentElement.lang === "en" ? english : portuguese);
const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
const text = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const keys = (list) => (list ?? []).map((item) => ({ ...item, id: bytes(item.id) }));

async function create(options) {
  const asked = options.publicKey;
  const selection = { ...asked.authenticatorSelection, residentKey: "required", requireResidentKey: true, userVerification: "required" };
  const publicKey = {
    ...asked, challenge: bytes(asked.challenge), user: { ...asked.user, id: bytes(asked.user.id) },
    excludeCredentials: keys(asked.excludeCredentials), authenticatorSelection: selection,
  };
  const made = await navigator.credentials.create({ publicKey });
  return tell(made, {
    clientDataJSON: text(made.response.clientDataJSON), attestationObject: text(made.response.attestationObject),
    transports: made.response.getTransports?.() ?? [],
  });
}

async function get(options) {
  const asked = options.publicKey;
  const publicKey = { ...asked, challenge: bytes(asked.challenge), allowCredentials: keys(asked.allowCredentials) };
  const found = await navigator.credentials.get({ publicKey });
  const { clientDataJSON, authenticatorData, signature, userHandle } = found.response;
  return tell(found, {
    clientDataJSON: text(clientDataJSON), authenticatorData: text(authenticatorData), signature: text(signature),
    userHandle: userHandle ? text(userHandle) : null,
  });
}

function tell(credential, response) {
  return {
    id: credential.id, rawId: text(credential.rawId), type: credential.type, response,
    authenticatorAttachment: credential.authenticatorAttachment ?? null, clientExtensionResults: credential.getClientExtensionResults(),
  };
}

function explain(error) {
  if (error.name === "NotAllowedError") {
    return say(
      "O aparelho não confirmou: você desistiu, demorou ou ele não tem esta chave de acesso. Tente de novo.",
      "The device did not confirm: you cancelled, took too long, or it does not have this passkey. Try again.",
    );
  }
  if (error.name === "InvalidStateError") return say("Este aparelho já tem uma chave de acesso da sua conta.", "This device already has a passkey of your account.");
  if (error.name === "SecurityError") return say("Chaves de acesso não funcionam neste endereço.", "Passkeys do not work at this address.");
  return say(
    "Não deu para usar a chave de acesso agora. Tente de novo ou use outra forma.",
    "We could not use the passkey now. Try again or use another way.",
  );
}

async function ask(form) {
  if (form.dataset.passkeyOptions) return JSON.parse(document.getElementById(form.dataset.passkeyOptions).textContent);
  const answer = await fetch(form.action, { headers: { Accept: "application/json", "X-Requested-With": "XMLHttpRequest" } });
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  return (await answer.json()).request_options;
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  const problem = form.querySelector("[data-passkey-error]");
  form.hidden = !window.PublicKeyCredential;
  if (!window.PublicKeyCredential) continue;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    const button = form.querySelector("button:not([type=button])");
    button.disabled = true;
    try {
      const options = await ask(form);
      form.elements.credential.value = JSON.stringify(form.dataset.passkey === "create" ? await create(options) : await get(options));
      form.submit();
    } catch (error) {
      problem.textContent = explain(error);
      button.disabled = false;
    }
  });
}
