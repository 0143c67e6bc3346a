"use strict";
// Draws what a board's `data-charts` address answers into the frames of the page, again every so often while somebody
// looks. Behind each chart is a table with the same figures. Times are UTC, as everywhere in the admin.
(() => {
    const SERIES = 8;
    const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3], [], [6, 3], [2, 2], [8, 3, 2, 3]];
    const STALE_MS = 15 * 60 * 1000;

    // --- how figures are written -------------------------------------------------------------------------------------

    const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
    function bytes(value) {
        const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let size = value, unit = 0;
        for (; Math.abs(size) >= 1024 && unit < units.length - 1; unit++) size /= 1024;
        return `${new Intl.NumberFormat("en", { maximumSignificantDigits: 3 }).format(size)} ${units[unit]}`;
    }
    function seconds(value) {
        if (value === 0) return "0 s";
        if (value < 1) return `${plain.format(value * 1000)} ms`;
        if (value < 120) return `${plain.format(value)} s`;
        if (value < 7200) return `${plain.format(value / 60)} min`;
        return value < 172800 ? `${plain.format(value / 3600)} h` : `${plain.format(value / 86400)} d`;
    }
    const WRITTEN = {
        bytes,
        seconds,
        bytes_per_second: (value) => `${bytes(value)}/s`,
        per_second: (value) => `${plain.format(value)}/s`,
        ratio: (value) => `${plain.format(value * 100)} %`,
        count: (value) => plain.format(value),
        sessions: (value) => plain.format(value),
    };
    const written = (chart, value) => (value === null || value === undefined ? "no data" : (WRITTEN[chart.unit] || WRITTEN.count)(value));

    const format = (options) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hourCycle: "h23", ...options });
    const CLOCK = format({ hour: "2-digit", minute: "2-digit" });
    const DAY = format({ day: "numeric", month: "short" });
    const EXACT = format({ year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit" });
    const HOUR = 3600000;
    function exact(ms) {
        const part = Object.fromEntries(EXACT.formatToParts(ms).map((one) => [one.type, one.value]));
        return `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}`;
    }
    function ago(ms) {
        const s = Math.max(0, Math.round(ms / 1000));
        if (s < 60) return `${s} s ago`;
        const count = s < 3600 ? Math.floor(s / 60) : Math.floor(s / 3600);
        return s < 3600 ? `${count} ${count === 1 ? "minute" : "minutes"} ago` : `${count} h ago`;
    }
    const isHistogram = (chart) => chart.kind === "histogram";
    const places = (chart) => (isHistogram(chart) ? chart.labels.length : chart.count);
    const placed = (chart, n) => (isHistogram(chart) ? chart.labels[n] : exact(chart.begin + n * chart.step));
    const hasData = (chart) => chart.lines.some((line) => line.values.some((value) => value !== null && (value || !isHistogram(chart))));

    // --- colours, from the page's own --------------------------------------------------------------------------------

    function colours() {
        const style = getComputedStyle(document.documentElement);
        const read = (name) => style.getPropertyValue(name).trim();
        return {
            lines: Array.from({ length: SERIES }, (_, n) => read(`--cp-series-${n + 1}`)),
            ink: read("--cp-quiet"), grid: read("--cp-line"), card: read("--cp-card"), strong: read("--cp-ink"),
            danger: read("--cp-bad"), warning: read("--cp-warn"),
        };
    }

    // --- drawing -----------------------------------------------------------------------------------------------------

    // Limits: lines across, or between two bars of a histogram.
    const marks = {
        id: "marks",
        afterDatasetsDraw(drawn) {
            const { ctx, chartArea: area, scales } = drawn;
            const look = drawn.options.plugins.marks;
            ctx.save();
            ctx.font = "11px Inter, sans-serif";
            ctx.setLineDash([5, 4]);
            look.shown.forEach((mark, n) => {
                ctx.strokeStyle = ctx.fillStyle = look.colours[mark.tone];
                ctx.beginPath();
                if (mark.after !== null) {
                    const x = (scales.x.getPixelForValue(mark.after - 1) + scales.x.getPixelForValue(mark.after)) / 2;
                    ctx.moveTo(x, area.top);
                    ctx.lineTo(x, area.bottom);
                    ctx.textAlign = "right";
                    ctx.fillText(mark.label, x - 4, area.top + 10 + 14 * n);
                } else {
                    const y = scales.y.getPixelForValue(mark.value);
                    if (y >= area.top - 1 && y <= area.bottom) {
                        ctx.moveTo(area.left, y);
                        ctx.lineTo(area.right, y);
                        ctx.textAlign = "right";
                        ctx.fillText(mark.label, area.right - 2, y < area.top + 14 ? y + 12 : y - 4);
                    }
                }
                ctx.stroke();
            });
            ctx.restore();
        },
    };

    // A limit far above everything would press the lines onto the ground: it is named below the chart instead.
    function shownMarks(chart) {
        const top = Math.max(0, ...chart.lines.flatMap((line) => line.values.filter((value) => value !== null)));
        const near = (mark) => mark.after !== null || chart.unit === "ratio" || mark.value <= 4 * top;
        const acrossOnly = isHistogram(chart) ? chart.marks : chart.marks.map((mark) => ({ ...mark, after: null }));
        return { shown: acrossOnly.filter(near), beyond: acrossOnly.filter((mark) => !near(mark)) };
    }

    function ticks(chart) {
        const begin = chart.begin, end = chart.begin + (chart.count - 1) * chart.step, span = end - begin;
        const steps = [HOUR / 6, HOUR / 2, HOUR, 3 * HOUR, 6 * HOUR, 24 * HOUR, 2 * 24 * HOUR, 5 * 24 * HOUR, 10 * 24 * HOUR, 61 * 24 * HOUR];
        const step = steps.find((one) => span / one <= 8) || steps[steps.length - 1];
        const found = [];
        for (let at = Math.ceil(begin / step) * step; at <= end; at += step) found.push({ value: at });
        return { found, label: (at) => (step >= 24 * HOUR || at % (24 * HOUR) === 0 ? DAY : CLOCK).format(at) };
    }

    // Sizes have round steps in powers of two, and as many digits as it takes to tell one step from the next.
    function byteSteps(chart, all) {
        if (!chart.unit.startsWith("bytes") || !all.length) return {};
        const top = Math.max(1, ...all), from = chart.unit === "bytes" ? Math.min(...all) : 0;
        // A line that hardly changes is not blown up to noise.
        const step = 2 ** Math.ceil(Math.log2(Math.max(1, (top - from) / 4, top / 64)));
        const power = Math.min(5, Math.floor(Math.log2(top) / 10));
        const digits = Math.min(3, Math.max(0, Math.ceil(-Math.log10(step / 1024 ** power))));
        const unit = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][power] + (chart.unit === "bytes" ? "" : "/s");
        return { stepSize: step, callback: (value) => `${(value / 1024 ** power).toFixed(digits)} ${unit}` };
    }

    function datasets(chart, look) {
        return chart.lines.map((line, n) => {
            const colour = look.lines[n % SERIES];
            if (isHistogram(chart)) return { label: line.name, data: line.values, backgroundColor: colour, stack: "all" };
            const alone = (at) => line.values[at] !== null && (line.values[at - 1] ?? null) === null && (line.values[at + 1] ?? null) === null;
            return {
                label: line.name,
                data: line.values.map((value, at) => ({ x: chart.begin + at * chart.step, y: value })),
                borderColor: colour, backgroundColor: colour, borderWidth: 2, borderDash: DASHES[n % SERIES],
                spanGaps: false, tension: 0, pointRadius: (context) => (alone(context.dataIndex) ? 2.5 : 0),
                pointHoverRadius: 4, pointHitRadius: 6,
            };
        });
    }

    function options(chart, look) {
        const time = isHistogram(chart) ? null : ticks(chart);
        const { shown } = shownMarks(chart);
        const all = chart.lines.flatMap((line) => line.values.filter((value) => value !== null));
        const across = shown.filter((mark) => mark.after === null).map((mark) => mark.value);
        const highRatio = chart.unit === "ratio" && all.length && Math.min(...all) > 0.5 && !across.length;
        const axis = { ticks: { color: look.ink, maxRotation: 0, autoSkip: isHistogram(chart) }, border: { display: false } };
        return {
            animation: false, responsive: true, maintainAspectRatio: false, normalized: true,
            interaction: { mode: "index", intersect: false },
            scales: {
                x: isHistogram(chart)
                    ? { ...axis, type: "category", labels: chart.labels, stacked: true, grid: { display: false } }
                    : {
                        ...axis, type: "linear", min: chart.begin, max: chart.begin + (chart.count - 1) * chart.step,
                        grid: { display: false }, afterBuildTicks: (scale) => { scale.ticks = time.found; },
                        ticks: { ...axis.ticks, callback: (value) => time.label(value) },
                    },
                y: {
                    ...axis, beginAtZero: !highRatio && chart.unit !== "bytes", stacked: isHistogram(chart), grid: { color: look.grid },
                    suggestedMax: chart.unit === "ratio" ? 1 : Math.max(0, ...across) || undefined,
                    max: highRatio ? Math.max(1, ...all) : undefined, suggestedMin: highRatio ? Math.min(0.99, ...all) : undefined,
                    ticks: { ...axis.ticks, maxTicksLimit: 5, precision: chart.unit === "count" ? 0 : undefined, callback: (value) => written(chart, value), ...byteSteps(chart, all) },
                },
            },
            plugins: {
                legend: {
                    display: chart.lines.length > 1, position: "bottom", align: "start",
                    labels: isHistogram(chart) ? { color: look.ink, boxWidth: 10, boxHeight: 10 } : { color: look.ink, boxHeight: 6, usePointStyle: true, pointStyle: "line", pointStyleWidth: 26 },
                },
                tooltip: {
                    animation: false, backgroundColor: look.strong, titleColor: look.card, bodyColor: look.card, usePointStyle: true,
                    callbacks: {
                        title: (items) => (items.length ? placed(chart, items[0].dataIndex) : ""),
                        label: (item) => `${item.dataset.label}: ${written(chart, item.parsed.y)}`,
                    },
                },
                marks: { shown, colours: { danger: look.danger, warning: look.warning } },
            },
        };
    }

    // --- one frame ---------------------------------------------------------------------------------------------------

    class Frame {
        constructor(figure, spanLabel) {
            this.figure = figure;
            this.spanLabel = spanLabel;
            this.title = figure.querySelector("h3").textContent;
            this.canvas = figure.querySelector("canvas");
            this.readout = figure.querySelector("[data-readout]");
            this.at = null;
            this.canvas.addEventListener("keydown", (event) => this.key(event));
            this.canvas.addEventListener("blur", () => this.point(null));
        }

        show(chart) {
            this.chart = chart;
            const look = colours(), some = hasData(chart);
            const type = isHistogram(chart) ? "bar" : "line";
            if (this.drawn) {
                this.drawn.data = { datasets: datasets(chart, look) };
                this.drawn.options = options(chart, look);
                this.drawn.update("none");
            } else {
                this.drawn = new Chart(this.canvas, { type, data: { datasets: datasets(chart, look) }, options: options(chart, look), plugins: [marks] });
            }
            this.canvas.setAttribute("aria-label", this.said());
            this.figure.querySelector("[data-empty]").hidden = some;
            const beyond = shownMarks(chart).beyond.map((mark) => mark.label);
            this.figure.querySelector("[data-note]").textContent = [chart.note, beyond.length ? `Far above: ${beyond.join(", ")}.` : ""].filter(Boolean).join(" ");
            this.fill();
        }

        // What the chart shows, in a sentence, for who does not see it.
        said() {
            const chart = this.chart, parts = [];
            for (const line of chart.lines) {
                const seen = line.values.filter((value) => value !== null);
                if (!seen.length) continue;
                if (isHistogram(chart)) parts.push(`${line.name} ${seen.reduce((a, b) => a + b, 0)} in all`);
                else parts.push(`${line.name} last ${written(chart, seen[seen.length - 1])}, lowest ${written(chart, Math.min(...seen))}, highest ${written(chart, Math.max(...seen))}`);
            }
            return `${this.title}, last ${this.spanLabel}: ${parts.join("; ") || "no data"}. Arrow keys read single points; a table follows.`;
        }

        // The table is there before it is opened: for a search in the page, and for who opens it and reads at once. Cells are
        // changed, not made anew: who reads in it, or has scrolled, stays at its place.
        fill() {
            const chart = this.chart, columns = [isHistogram(chart) ? "Time taken" : "UTC", ...chart.lines.map((line) => line.name)];
            const head = this.figure.querySelector("thead"), body = this.figure.querySelector("tbody");
            if (head.rows[0]?.cells.length !== columns.length || body.rows.length !== places(chart)) {
                head.replaceChildren(row("col", columns.length));
                body.replaceChildren(...Array.from({ length: places(chart) }, () => row("row", columns.length)));
            }
            columns.forEach((name, n) => write(head.rows[0].cells[n], name));
            for (let n = 0; n < places(chart); n++) {
                const cells = body.rows[n].cells;
                write(cells[0], placed(chart, n));
                chart.lines.forEach((line, of) => write(cells[of + 1], written(chart, line.values[n]), line.values[n]));
            }
        }

        key(event) {
            if (!this.chart || !hasData(this.chart)) return;
            const last = places(this.chart) - 1, from = this.at ?? last + 1;
            const to = { ArrowLeft: Math.max(0, from - 1), ArrowRight: Math.min(last, (this.at ?? -1) + 1), Home: 0, End: last, Escape: null }[event.key];
            if (to === undefined) return;
            event.preventDefault();
            this.point(to);
        }

        point(at) {
            this.at = at;
            if (!this.drawn) return;
            const active = at === null ? [] : this.chart.lines.map((_, n) => ({ datasetIndex: n, index: at })).filter((one) => this.chart.lines[one.datasetIndex].values[at] !== null);
            this.drawn.setActiveElements(active);
            this.drawn.tooltip.setActiveElements(active, { x: 0, y: 0 });
            this.drawn.update("none");
            this.readout.textContent = at === null ? "" : `${placed(this.chart, at)}: ${this.chart.lines.map((line) => `${line.name} ${written(this.chart, line.values[at])}`).join(", ")}`;
        }

        recolour() {
            if (this.chart) this.show(this.chart);
        }

        age(now) {
            if (!this.chart) return;
            const shown = this.figure.querySelector("[data-taken]"), at = this.chart.taken_at;
            const stale = at === null || now - at > STALE_MS;
            shown.textContent = at === null ? "no data" : stale ? `no data since ${exact(at)} UTC` : ago(now - at);
            shown.classList.toggle("cp-stale", stale);
        }
    }

    // A row of empty cells: all of them heads ("col"), or the first ("row").
    function row(scope, count) {
        const made = document.createElement("tr");
        for (let n = 0; n < count; n++) {
            const cell = document.createElement(scope === "col" || n === 0 ? "th" : "td");
            if (cell.tagName === "TH") cell.scope = scope;
            if (n) cell.className = "cp-number";
            made.append(cell);
        }
        return made;
    }

    function write(cell, text, value) {
        if (cell.textContent !== text) cell.textContent = text;
        if (value === null || value === undefined) delete cell.dataset.value;
        else cell.dataset.value = value;
    }

    // --- the page ----------------------------------------------------------------------------------------------------

    class Board {
        constructor(section) {
            this.section = section;
            this.status = section.querySelector("[data-status]");
            this.every = Number(section.dataset.every) * 1000;
            this.frames = new Map([...section.querySelectorAll("[data-plot]")].map((figure) => [figure.dataset.plot, new Frame(figure, section.dataset.span)]));
            this.skew = 0;
            this.loaded = 0;
            this.load();
            setInterval(() => this.tick(), 5000);
            document.addEventListener("visibilitychange", () => this.tick());
            new MutationObserver(() => this.frames.forEach((frame) => frame.recolour())).observe(document.documentElement, { attributeFilter: ["class"] });
        }

        now() {
            return Date.now() + this.skew;
        }

        // Nobody looks at a hidden tab; what it showed is brought up to date when it is looked at again.
        tick() {
            this.frames.forEach((frame) => frame.age(this.now()));
            if (!document.hidden && !this.loading && performance.now() - this.tried >= this.every - 500) this.load();
        }

        async load() {
            this.loading = true;
            this.tried = performance.now();
            try {
                // The header says that nobody asked for this: a session does not live on by it.
                const answer = await fetch(this.section.dataset.charts, { headers: { Accept: "application/json", "HX-Request": "true" } });
                if (answer.headers.get("HX-Refresh")) return location.reload();
                if (!answer.ok || answer.redirected) throw new Error(`the server answered ${answer.status}`);
                const found = await answer.json();
                this.skew = found.at - Date.now();
                this.frames.forEach((frame, id) => frame.show(found.charts[id]));
                this.told = `Updated at ${exact(found.at).slice(11)} UTC, again every ${this.every / 1000} seconds`;
                this.status.textContent = this.told;
                this.status.classList.remove("cp-stale");
                this.section.dataset.loaded = ++this.loaded;
            } catch (error) {
                this.status.textContent = `Not updated: ${error.message}. ${this.told || ""}`;
                this.status.classList.add("cp-stale");
            } finally {
                this.loading = false;
                this.frames.forEach((frame) => frame.age(this.now()));
            }
        }
    }

    document.querySelectorAll("[data-charts]").forEach((section) => new Board(section));
})();
