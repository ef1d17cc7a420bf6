(function () {
  "use strict";
  var root = document.documentElement;

  // The theme: that of the system, light or dark; remembered where the browser allows it.
  var themes = ["auto", "light", "dark"];
  var button = document.querySelector(".theme");
  function show(theme) {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    button.textContent = "Theme: " + theme;
  }
  button.hidden = false;
  show(root.dataset.theme || "auto");
  button.addEventListener("click", function () {
    var next = themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % 3];
    show(next);
    try { localStorage.setItem("report-theme", next); } catch (e) { /* not remembered */ }
  });

  function field(value) {
    if (value === null || value === undefined) return "";
    var text = String(value);
    return /^$|[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  }

  // A column is an array, or {"from": a, "by": b} for evenly spaced numbers.
  function cell(column, at) {
    if (column === undefined) return null;
    if (Array.isArray(column)) return column[at];
    return Number((column.from + column.by * at).toPrecision(6));
  }

  function csvOf(data) {
    var lines = [["layer", "kind", "series"].concat(data.columns).map(field).join(",")];
    data.layers.forEach(function (layer, index) {
      for (var at = 0; at < layer.count; at++) {
        var values = data.columns.map(function (name) {
          var value = cell(layer.columns[name], at);
          var names = data.names[name];
          return names && names[value] !== undefined ? names[value] : value;
        });
        lines.push([index + 1, layer.kind, layer.series].concat(values).map(field).join(","));
      }
    });
    return lines.join("\r\n") + "\r\n";
  }

  document.querySelectorAll("button[data-source]").forEach(function (button) {
    button.hidden = false;
    button.addEventListener("click", function () {
      var data = JSON.parse(document.getElementById(button.dataset.source).textContent);
      var text = typeof data === "string" ? data : csvOf(data);
      var link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      link.download = button.dataset.file;
      link.click();
      setTimeout(function () { URL.revokeObjectURL(link.href); }, 10000);
    });
  });

  // Copies a command; where that is not allowed, selects it.
  document.querySelectorAll("button[data-copy]").forEach(function (button) {
    button.hidden = false;
    var label = button.textContent;
    var code = document.getElementById(button.dataset.copy);
    function say(text) {
      button.textContent = text;
      setTimeout(function () { button.textContent = label; }, 2000);
    }
    function select() {
      var range = document.createRange();
      range.selectNodeContents(code);
      var selection = getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      say("Selected");
    }
    button.addEventListener("click", function () {
      if (!navigator.clipboard) return select();
      navigator.clipboard.writeText(code.textContent).then(function () { say("Copied"); }, select);
    });
  });

  // Marks the section in view in the contents.
  var links = {};
  document.querySelectorAll("nav a").forEach(function (link) {
    links[link.hash.slice(1)] = link;
  });
  if (window.IntersectionObserver) {
    var seen = {};
    var observer = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) { seen[entry.target.id] = entry.isIntersecting; });
      var current = Object.keys(links).filter(function (id) { return seen[id]; })[0];
      Object.keys(links).forEach(function (id) {
        if (id === current) links[id].setAttribute("aria-current", "true");
        else links[id].removeAttribute("aria-current");
      });
    }, { rootMargin: "-15% 0px -60% 0px" });
    Object.keys(links).forEach(function (id) { observer.observe(document.getElementById(id)); });
  }

  // Paper shows what is folded.
  addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (details) {
      details.dataset.closed = details.open ? "" : "yes";
      details.open = true;
    });
  });
  addEventListener("afterprint", function () {
    document.querySelectorAll("details[data-closed=yes]").forEach(function (details) {
      details.open = false;
    });
  });
})();
