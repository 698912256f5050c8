// The page of `lks serve`: it asks, shows and changes facts by the server's own API.

import { App } from "./app.js";
import { showHeader } from "./header.js";
import { watchJobs } from "./components/jobs.js";
import { Router } from "./router.js";
import { addView } from "./views/add.js";
import { askView } from "./views/ask.js";
import { factView } from "./views/fact.js";
import { factsView } from "./views/facts.js";
import { historyView } from "./views/history.js";
import { keyView } from "./views/key.js";
import { reviewView } from "./views/review.js";
import { trafficView } from "./views/traffic.js";

const VIEWS = {
  ask: askView,
  facts: (app, route, signal) =>
    (route.parts.length > 1 ? factView : factsView)(app, route, signal),
  add: addView,
  review: reviewView,
  history: historyView,
  traffic: trafficView,
};

const app = new App();
showHeader(app);
watchJobs(app);
await new Router(app, VIEWS, "ask", keyView).start();
