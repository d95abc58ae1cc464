// The API's reference: Redoc shows the OpenAPI document.
const place = document.getElementById("reference");
const [{ init }, answer] = await Promise.all([import(place.dataset.renderer), fetch("/openapi.json")]);
const found = await answer.json();
found.info["x-logo"] = { url: place.dataset.logo, href: "/guide", altText: "Guide" };
for (const operation of Object.values(found.paths).flatMap(Object.values)) {
  const role = operation["x-required-role"];
  if (role) operation.description += `\n\nRole: ${role}.`;
}
init(found, { disableTelemetry: true, hideSchemaTitles: true }, place);
