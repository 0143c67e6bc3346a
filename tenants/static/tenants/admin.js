"use strict";
// The Content-Security-Policy refuses what htmx would write into the page; its styles are in admin.css.
htmx.config.includeIndicatorStyles = false;
htmx.config.allowEval = false;
htmx.config.selfRequestsOnly = true;

// Nobody looks at a hidden tab: what asks by itself (no event of anybody's behind it) waits until somebody does.
document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && !event.detail.requestConfig.triggeringEvent) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
    if (!document.hidden) document.querySelectorAll("[hx-trigger*=cp-shown]").forEach((one) => htmx.trigger(one, "cp-shown"));
});

// Copy buttons. What is copied stays in the page: no request, no storage.
document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const input = document.getElementById(button.dataset.copy);
    const text = button.querySelector("[data-copy-text]");
    try {
        await navigator.clipboard.writeText(input.value);
        text.textContent = "Copied";
    } catch {
        // Without HTTPS browsers keep the clipboard to themselves: select it for the keyboard.
        input.select();
        text.textContent = "Press Ctrl+C";
    }
    setTimeout(() => (text.textContent = "Copy"), 2500);
});

// The page is hidden until Alpine has started, and browsers forget autofocus for what is hidden. Alpine uncovers it
// in a microtask after this event, so we come after that.
document.addEventListener("alpine:initialized", () => setTimeout(() => {
    const wanted = document.querySelector("[autofocus]");
    if (wanted && (document.activeElement === document.body || !document.activeElement)) wanted.focus();
}));
