// Shows the OpenAPI document to who has a token. The token stays in the memory of the page.
const refusal = document.getElementById("refusal");

async function show(token) {
  const answer = await fetch("v1/openapi.json", { headers: { Authorization: `Bearer ${token}` } });
  const body = await answer.json();
  if (!answer.ok) {
    throw new Error(body.detail);
  }
  const ui = SwaggerUIBundle({
    spec: body,
    dom_id: "#page",
    docExpansion: "none",
    filter: true,
    validatorUrl: null,
    onComplete: () => ui.preauthorizeApiKey("token", token),
  });
}

document.getElementById("client").addEventListener("submit", (event) => {
  event.preventDefault();
  refusal.textContent = "";
  show(document.getElementById("token").value.trim()).catch((error) => {
    refusal.textContent = error.message;
  });
});
