// What VS Code shows for a run.json. Reads {schema, requests: [{uri, text, at}]} and answers, for each request, the
// diagnostics of the text and, at the offset `at`, the hover text and the names that it proposes. A `$schema` in a text
// is read from its file, as VS Code does.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import service from "vscode-json-languageservice";

const { schema, requests } = JSON.parse(readFileSync(0, "utf-8"));
const languageService = service.getLanguageService({
  schemaRequestService: async (uri) => readFileSync(fileURLToPath(uri), "utf-8"),
  workspaceContext: { resolveRelativePath: (path, resource) => new URL(path, resource).href },
});
languageService.configure({ validate: true, schemas: [{ uri: schema.$id, fileMatch: ["*"], schema }] });

const answers = [];
for (const { uri, text, at } of requests) {
  const document = service.TextDocument.create(uri, "json", 1, text);
  const parsed = languageService.parseJSONDocument(document);
  const position = document.positionAt(at ?? 0);
  const hover = await languageService.doHover(document, position, parsed);
  const proposed = await languageService.doComplete(document, position, parsed);
  answers.push({
    problems: (await languageService.doValidation(document, parsed)).map((each) => each.message),
    hover: hover ? [hover.contents].flat().join("\n").replace(/\\(.)/g, "$1") : "",
    proposed: proposed.items.map((each) => each.label),
  });
}
console.log(JSON.stringify(answers));
