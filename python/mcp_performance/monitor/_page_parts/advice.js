"use strict";
// The tab of advice: indexes that were tried on a copy of the database, before and after. It asks only when told to.
{
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const panel = (tab) => byId(tab.getAttribute("aria-controls"));

  function choose(chosen) {
    for (const tab of tabs) {
      const here = tab === chosen;
      tab.setAttribute("aria-selected", String(here));
      tab.tabIndex = here ? 0 : -1;
      panel(tab).hidden = !here;
    }
    for (const chart of page.charts) chart.show(); // they have no width while they are hidden
  }
  tabs.forEach((tab, number) => {
    tab.onclick = () => choose(tab);
    tab.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(number + step + tabs.length) % tabs.length];
      next.focus();
      choose(next);
    };
  });

  function bar(seconds, most, name) {
    const made = element("div", "");
    const drawn = element("span", "");
    drawn.className = `bar ${name}`;
    drawn.style.width = `${most > 0 ? Math.max(100 * seconds / most, 0.5) : 0}%`;
    made.append(drawn, element("span", `${name} ${time(seconds)}`));
    return made;
  }

  function bars(one, most) {
    if (one.seconds_before == null || one.seconds_after == null) return "not run";
    const box = element("div", "");
    box.className = "bars";
    box.append(bar(one.seconds_before, most, "before"), bar(one.seconds_after, most, "after"));
    return box;
  }

  const longest = (all) => Math.max(0, ...all.map((one) => one.seconds_before ?? 0));

  function table(caption, heads, rows) {
    const [scroll, made] = [element("div", ""), document.createElement("table")];
    scroll.className = "scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", caption);
    made.className = "tried";
    made.createCaption().textContent = caption;
    const head = made.createTHead().insertRow();
    for (const text of heads) head.append(Object.assign(element("th", text), { scope: "col" }));
    made.createTBody().append(...rows);
    scroll.append(made);
    return scroll;
  }

  function indexes(found) {
    const most = longest(found);
    return table("Indexes", ["index", "before and after", "price", "confidence"], found.map((one) => row([
      element("code", `${one.ddl};`), bars(one, most),
      [one.bytes == null ? "" : units.B(one.bytes), one.write_cost ? `${count(one.write_cost)} steps of writes` : ""].filter(Boolean).join(", "),
      `${one.confidence}: ${one.reason}`])));
  }

  function statements(found) {
    const most = longest(found);
    return table("Statements, one run each", ["statement", "before and after", "rows scanned"], found.map((one) => row([
      one.fingerprint, bars(one, most), `${count(one.rows_before)} → ${count(one.rows_after)}`])));
  }

  // Steps of a plan as lists in lists.
  function tree(plan) {
    const top = document.createElement("ul");
    const open = [top];
    for (const step of plan) {
      open.length = step.depth + 1;
      const item = element("li", "");
      item.append(element("code", step.detail), step.rows == null ? "" : ` ${count(step.rows)} rows`);
      const below = document.createElement("ul");
      item.append(below);
      open.at(-1).append(item);
      open.push(below);
    }
    for (const list of top.querySelectorAll("ul:empty")) list.remove();
    return top;
  }

  function plan(report) {
    const box = document.createElement("details");
    box.append(element("summary", report.fingerprint), tree(report.plan));
    const issues = report.issues.map((one) => element("li", `${one.severity} ${one.code}: ${one.message}. ${one.suggestion}`));
    if (issues.length) {
      const list = document.createElement("ul");
      list.append(...issues);
      box.append(list);
    }
    return box;
  }

  function parts({ advice: found, reports }) {
    const shown = [found.indexes.length ? indexes(found.indexes) : element("p", "No index would help.")];
    if (found.statistics) shown.push(element("p", `ANALYZE; ${count(found.statistics.cost_before)} → ${count(found.statistics.cost_after)} units of work`));
    for (const drop of found.drops) shown.push(element("p", `${drop.ddl}; ${drop.reason}: ${drop.evidence}`));
    if (found.statements.length) shown.push(statements(found.statements));
    if (reports.length) shown.push(element("h2", "Plans"), ...reports.map(plan));
    for (const note of found.notes) shown.push(element("p", note));
    return shown;
  }

  byId("try").onclick = async (event) => {
    const [button, said] = [event.target, byId("tried-state")];
    button.disabled = true;
    said.textContent = "trying indexes on a copy; this takes some seconds";
    try {
      const answer = await ask("/advice", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
      const found = await answer.json();
      if (!answer.ok) throw new Error(found.error);
      byId("tried").replaceChildren(...parts(found));
      said.textContent = "done";
    } catch (error) {
      said.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  };
}
