// Stores the page's state until its tab is closed. The exported page uses page_storage.js instead.

export const storage = window.sessionStorage;
