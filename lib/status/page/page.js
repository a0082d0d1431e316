"use strict";
(() => {
	const box = document.getElementById("search"), found = document.getElementById("found");
	const sections = [...document.querySelectorAll("section")];
	let rows;
	const search = () => {
		rows ??= [...document.querySelectorAll("article")].map(row => [row, row.textContent.toLowerCase()]);
		const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
		let shown = 0;
		for (const [row, text] of rows) {
			row.hidden = !words.every(word => text.includes(word));
			shown += row.hidden ? 0 : 1;
		}
		for (const section of sections) section.hidden = !section.querySelector("article:not([hidden])");
		found.value = words.length ? shown + " of " + rows.length : "";
	};
	box.addEventListener("input", search);
	box.form.addEventListener("submit", event => event.preventDefault());
	box.form.hidden = false;
	if (box.value) search();
})();
