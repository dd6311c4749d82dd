// What the page asks of its own server and of Airflow's API. The addresses come from the page,
// which knows where it is mounted.

const { airflow, data, dagId, runId, taskId, mapIndex } = document.body.dataset;

/** A reply that is not a success, in words. */
export class Refused extends Error {
  constructor(problem, status) {
    super(problem.title);
    this.problem = problem;
    this.status = status;
  }
}

async function json(address, options = {}) {
  let reply;
  try {
    reply = await fetch(address, {
      cache: "no-store",
      credentials: "same-origin",
      headers: { Accept: "application/json", ...options.headers },
      ...options,
    });
  } catch {
    throw new Refused(
      { title: "Airflow does not answer", detail: "The page asks again by itself." },
      0,
    );
  }
  const body = await reply.json().catch(() => null);
  if (!reply.ok) throw new Refused(body?.problem ?? inWords(reply.status, body), reply.status);
  return body;
}

function inWords(status, body) {
  const detail = typeof body?.detail === "string" ? body.detail : `HTTP status ${status}.`;
  const titles = {
    400: "Airflow refused the answer",
    401: "You are not logged in",
    403: "You may not do this",
    404: "Not found",
    409: "Someone has answered already",
  };
  return { title: titles[status] ?? "Airflow did not do this", detail };
}

export const readPage = () => json(data);

const part = encodeURIComponent;

export const videoAddress = (mediaId) => `${data}/videos/${part(mediaId)}`;

export const previewOf = (projectId) => json(`${data}/previews/${part(projectId)}`);

export const clipAddress = (projectId, place) =>
  `${data}/previews/${part(projectId)}/clips/${place}`;

/** Ask why an address does not play; null where the server would send the browser on. */
export async function whyNot(address) {
  try {
    const reply = await fetch(address, {
      redirect: "manual",
      cache: "no-store",
      headers: { Accept: "application/json" },
    });
    if (reply.type === "opaqueredirect" || reply.ok) return null;
    const body = await reply.json().catch(() => null);
    return body?.problem ?? inWords(reply.status, body);
  } catch {
    return { title: "Airflow does not answer", detail: "Try again in a moment." };
  }
}

const question =
  `${airflow}/api/v2/dags/${part(dagId)}/dagRuns/${part(runId)}` +
  `/taskInstances/${part(taskId)}/${mapIndex}/hitlDetails`;

export const readQuestion = () => json(question);

export const answer = (options) =>
  json(question, {
    method: "PATCH",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ chosen_options: options, params_input: {} }),
  });
