// Okabe and Ito's colours, which people with any colour vision tell apart.
export const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#999999"];
export const HUMAN = "#d55e00";
